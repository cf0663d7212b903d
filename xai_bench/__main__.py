"""`python -m xai_bench`."""

from xai_bench.cli.main import main

main()
