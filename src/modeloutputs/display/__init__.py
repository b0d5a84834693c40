"""How outputs are shown: text, a table, HTML for notebooks, a table for terminals."""
