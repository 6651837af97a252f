#!/bin/sh
# Promotes the models into an environment. Written by `mlflow-migration cicd init`.
# Each is tried, so that one that is refused holds up no other; the first exit code that isn't 0 is this script's.
set -eu
target=$1
result=0
# Names, tags and reasons are others' words: in a log none of them is a command to the CI (`::…`, `##[…]`, `##vso[…]`).
shown() {
  sed -e 's/##\(vso\)*\[/# #\1[/g' -e 's/^\([[:blank:]]*\)::/\1: :/' "$1"
}
mkdir -p promotions
for model in $MODELS; do
  code=0
  mlflow-migration promote run "$model" --to "$target" --policy promotion.yml --json \
    > "promotions/$model.json" 2> "promotions/$model.log" || code=$?
  shown "promotions/$model.log" >&2
  shown "promotions/$model.json"
  if [ "$result" -eq 0 ]; then
    result=$code
  fi
done
exit "$result"
