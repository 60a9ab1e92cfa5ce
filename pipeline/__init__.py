"""The stages between a trained classifier and a measured, exported candidate: one file a stage, records in, a record out."""
