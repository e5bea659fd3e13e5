#!/usr/bin/env bash
# Create the milestones of milestones.json in a GitHub repository, through the GitHub CLI (`gh`, logged in).
# Run it as often as you like: a milestone of the same id (the text before the colon) is brought up to date, not doubled;
# what a person closed stays closed, and other milestones are left alone.
#
#   backoffice/milestones/create_milestones.sh [--dry-run] [OWNER/REPOSITORY]   (default: the repository of this folder)
#
# Exit code 0: all are as they should be; 1: GitHub refused something; 2: used wrongly, or a program is missing.
set -euo pipefail

fail() { echo "$1" >&2; exit 2; }

dry_run=false
repository=""
for argument in "$@"; do
  case $argument in
    --dry-run) dry_run=true ;;
    -*) fail "$argument is unknown; usage: $(basename "$0") [--dry-run] [OWNER/REPOSITORY]" ;;
    */*) repository=$argument ;;
    *) fail "$argument: OWNER/REPOSITORY is meant, for example anna/claire" ;;
  esac
done

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
file=${MILESTONES_FILE:-$here/milestones.json}
python=${PYTHON:-python3}
command -v gh >/dev/null || fail "gh is missing: https://cli.github.com, then gh auth login"
command -v "$python" >/dev/null || fail "$python is missing"
[[ -n $repository ]] || repository=$(gh repo view --json nameWithOwner --jq .nameWithOwner) ||
  fail "this folder belongs to no GitHub repository; name it: $(basename "$0") OWNER/REPOSITORY"

existing=$(gh api --paginate "repos/$repository/milestones?state=all&per_page=100" --jq '.[] | [.number, .title] | @tsv')

# One line a milestone: id, title and description, in base64 so that no character of a text can break out.
rows=$("$python" - "$file" <<'PYTHON'
import base64, json, sys

with open(sys.argv[1], encoding="utf-8") as source:
    milestones = json.load(source)["milestones"]
for milestone in milestones:
    criteria = "\n".join(f"- [ ] {line}" for line in milestone["exit_criteria"])
    description = f"{milestone['summary']}\n\n{criteria}"
    print("\t".join(base64.b64encode(text.encode()).decode() for text in (milestone["id"], milestone["title"], description)))
PYTHON
) || fail "$file cannot be read as milestones"

plain() { printf %s "$1" | base64 --decode; }

while IFS=$'\t' read -r id title description; do
  id=$(plain "$id"); title=$(plain "$title"); description=$(plain "$description")
  number=$(awk -F '\t' -v id="$id" 'index($2, id ":") == 1 {print $1; exit}' <<<"$existing")
  if [[ -n $number ]]; then
    echo "update  #$number  $title"
    $dry_run || gh api --method PATCH "repos/$repository/milestones/$number" -f "title=$title" -f "description=$description" --silent
  else
    echo "create       $title"
    $dry_run || gh api --method POST "repos/$repository/milestones" -f "title=$title" -f "description=$description" --silent
  fi
done <<<"$rows"
