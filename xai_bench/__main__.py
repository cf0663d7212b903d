"""`python -m xai_bench`."""

from xai_bench.cli import main

main()
