#!/bin/sh
# Shows what a promotion into an environment would do, as Markdown in plan.md. Written by `mlflow-migration cicd init`.
# A gate that refuses (exit code 5) is an answer, not a failure of the plan.
set -eu
target=$1
result=0
# Names, tags and reasons are others' words: in a log none of them is a command to the CI (`::…`, `##[…]`, `##vso[…]`).
shown() {
  sed -e 's/##\(vso\)*\[/# #\1[/g' -e 's/^\([[:blank:]]*\)::/\1: :/' "$1"
}
echo "### Promotion into $target" > plan.md
for model in $MODELS; do
  code=0
  mlflow-migration promote plan "$model" --to "$target" --policy promotion.yml > plan.txt 2> plan.err || code=$?
  shown plan.err >&2
  printf '\n#### %s\n\n```text\n' "$model" >> plan.md
  cat plan.txt >> plan.md
  printf '```\n' >> plan.md
  case "$code" in
    0) echo "All gates pass." >> plan.md ;;
    5) echo "A gate refuses." >> plan.md ;;
    *) echo "The plan could not be made: exit code $code." >> plan.md; result=$code ;;
  esac
done
rm -f plan.txt plan.err
shown plan.md
exit "$result"
