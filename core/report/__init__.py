"""Reports: tables, plots, drawings, one self-contained HTML page a run or comparison."""
