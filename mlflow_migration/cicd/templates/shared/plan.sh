#!/bin/sh
# Shows what a promotion into an environment would do, as Markdown in plan.md. Written by `mlflow-migration cicd init`.
# A gate that refuses (exit code 5) is an answer, not a failure of the plan.
set -eu
target=$1
result=0
echo "### Promotion into $target" > plan.md
for model in $MODELS; do
  code=0
  mlflow-migration promote plan "$model" --to "$target" --policy promotion.yml > plan.txt || code=$?
  printf '\n#### %s\n\n```text\n' "$model" >> plan.md
  cat plan.txt >> plan.md
  printf '```\n' >> plan.md
  case "$code" in
    0) echo "All gates pass." >> plan.md ;;
    5) echo "A gate refuses." >> plan.md ;;
    *) echo "The plan could not be made: exit code $code." >> plan.md; result=$code ;;
  esac
done
cat plan.md
exit "$result"
