"""The style sheet and the script that compare_html puts into its page."""
