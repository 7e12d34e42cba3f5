#!/bin/bash -eu
# Builds every target of fuzz/targets, with its seed corpus and its dictionary, into $OUT. atheris is in the image.
cd "$SRC/fdspec"
pip3 install . "twisted>=24.11"

seeds="$WORK/seeds"
rm -rf "$seeds"
python3 -m fdspec.fuzz.targets.seeds "$seeds"

for target in "$SRC"/fdspec/fuzz/targets/fuzz_*.py; do
    name=$(basename "$target" .py)
    # The implementations are imported by name, and tables of requirements are read: PyInstaller sees neither.
    compile_python_fuzzer "$target" --collect-all fdspec --collect-submodules twisted.python
    python3 -m zipfile -c "$OUT/${name}_seed_corpus.zip" "$seeds/$name"/*
    dictionary="$SRC/fdspec/fuzz/targets/dictionaries/${name#fuzz_}.dict"
    if [ -f "$dictionary" ]; then
        cp "$dictionary" "$OUT/$name.dict"
    fi
done
