"""How the deepest cut that keeps its accuracy was found, in words."""

from pipeline.markdown import section
from pipeline.measurements import SearchRecord

NOTE = """\
Of {considered} cuts, evenly spread over the MACs, {trained} were trained to find the deepest that keeps {floor:.2%} of validation
top-1 (dense: {reference:.2%}). The search takes it that what a cut loses, every deeper one loses too. A branch that could not get
there any more was stopped."""


def search_sentence(search: SearchRecord) -> str:
    """What was found, and what it took."""
    found, trained = search.found, len(search.trials)
    whole = search.considered * search.epochs_a_branch
    took = f"{trained} of {search.considered} cuts were trained, {search.epochs:g} epochs instead of {whole:g}"
    if not found:
        return f"No cut keeps {search.floor:.2%} of validation top-1 after fine-tuning; {took}."
    return (
        f"The deepest cut that keeps {search.floor:.2%} of validation top-1 is {found.goal}: {found.macs_left:.0%} of the MACs, "
        f"{found.top1_validation:.2%}; {took}."
    )


def search_section(search: SearchRecord) -> str:
    """Every branch that was tried, in order, as a section of Markdown."""
    note = NOTE.format(**search.model_dump(include={"considered", "floor", "reference"}), trained=len(search.trials))
    rows = (
        (
            str(trial.goal),
            f"{trial.macs_left:.1%}",
            f"{trial.top1_validation:.2%}",
            "yes" if trial.holds else "no",
            f"{trial.epochs:g} of {search.epochs_a_branch:g}",
            trial.stopped or "-",
        )
        for trial in search.trials
    )
    heads = ("cut", "MACs left", "validation top-1", "holds", "epochs trained", "stopped because")
    return section("Search", f"{search_sentence(search)} {note}", heads, rows)
