"""What the branch says now of what a promotion wrote or rests on; asked again before each sync and while the run watches."""

from __future__ import annotations

from collections.abc import Mapping

from gitops_nb.edits import edit_scalar, read_part
from gitops_nb.errors import ConflictError, UsageError
from gitops_nb.model import Plan
from gitops_nb.ports import GitReader, View
from gitops_nb.promotion.pending import bound_folders


def otherwise(git: GitReader, plan: Plan, revision: str) -> str:
    """What a revision holds otherwise than the plan says, in words; "" when it holds all of it."""
    repository, edits = plan.arguments["repository"], plan.arguments["edits"]
    blobs = git.read_many(repository, revision, [edit["path"] for edit in edits])
    for edit, blob in zip(edits, blobs, strict=True):
        try:
            found = (
                "no file" if blob is None else read_part(blob.content, edit["key"], edit["part"])
            )
        except UsageError as error:
            found = error.message
        if found != edit["after"]:
            return f"{edit['path']} has {found}, not {edit['after']}"
    return ""


def carried_out(git: GitReader, plan: Plan, sha: str) -> str:
    """What a commit changes otherwise than its plan says, in words; "" where it carries out exactly that.

    Raises:
        UnavailableError: The repository does not answer, or an object is not what its id says.
    """
    arguments = plan.arguments
    repository, edits = str(arguments["repository"]), arguments.get("edits") or ()
    paths = list(dict.fromkeys(str(edit["path"]) for edit in edits))
    strange = sorted(git.changed(repository, sha).keys() - set(paths))
    if strange:
        return f"it changes {strange[0]}, which its plan does not name"
    (parent,) = git.log(repository, sha, limit=1)[0].parents
    before, after = (git.read_many(repository, commit, paths) for commit in (parent, sha))
    for path, old, new in zip(paths, before, after, strict=True):
        content = old.content if old is not None else b""
        try:
            for edit in (one for one in edits if one["path"] == path):
                content = edit_scalar(
                    content,
                    edit["key"],
                    edit["part"],
                    edit["after"],
                    as_text=edit.get("is_text", False),
                )
        except UsageError as error:
            return f"{path} is not what its plan makes of it: {error.message}"
        if new is None or new.content != content:
            return f"{path} is not what its plan makes of it"
    return ""


def changed_since(view: View, plan: Plan, tip: str = "") -> str:
    """What the branch holds now otherwise than this promotion left it, in words with the commit; "" when it holds all of it.

    A plan without an edit left the files as they were when it was made.

    Raises:
        UnavailableError: The repository does not answer.
    """
    arguments = plan.arguments
    repository = str(arguments["repository"])
    tip = tip or view.git.tip(repository, arguments["branch"])
    if arguments["edits"]:
        wrong = otherwise(view.git, plan, tip)
    else:
        files = {name: known for name, known in plan.materials.items() if not name.endswith("/")}
        paths = [name.removeprefix(f"{repository}:") for name in files]
        blobs = view.git.read_many(repository, tip, paths)
        then = files.values()
        moved = [
            path
            for path, blob, known in zip(paths, blobs, then, strict=True)
            if blob is None or blob.blob_id != known
        ]
        wrong = f"{moved[0]} is another file than the plan was made of" if moved else ""
    return f"{wrong} at {tip[:8]}" if wrong else ""


def refuse_other_folders(git: GitReader, plan: Plan, tip: str) -> None:
    """Refuses to build on a tip whose files, those that a sync would bring along, are not those that were shown.

    Raises:
        ConflictError: Somebody pushed to a folder of the Application since the plan was made.
    """
    shown: Mapping[str, str] = plan.arguments.get("folders") or {}
    now = bound_folders(git, str(plan.arguments["repository"]), tip, shown)
    changed = [folder for folder, known in shown.items() if now[folder] != known]
    if changed:
        raise ConflictError(
            f"files of {changed[0] or 'the repository'} changed since the plan was made; nothing was committed, and nothing is synced",
            hint="Run the promotion again: it shows what the sync would bring.",
        )
