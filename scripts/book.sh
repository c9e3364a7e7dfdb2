#!/usr/bin/env bash
# Builds the documentation as a site into target/book. Needs mdbook.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
if ! command -v mdbook >/dev/null; then
    echo "book.sh: there is no mdbook; cargo install mdbook" >&2
    exit 2
fi
cargo run --quiet --package robustseg-driver -- schema --markdown >docs/spec.md
mdbook build
