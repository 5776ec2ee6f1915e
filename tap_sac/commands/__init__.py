"""Commands beside the sync: `--check`, `--models` and `--login`."""
