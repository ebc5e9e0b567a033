"""Pictures from arrays and result files alone, drawn with seaborn, sized for a page.

Every function returns a figure, which `asd.report.page.save_figure` writes.
"""
