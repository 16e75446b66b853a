"""What Ropewalk costs on this machine, as ratios inside one run. `python -m bench` measures; README.md says what each figure is."""
