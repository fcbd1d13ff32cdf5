"""Pages: what studies and runs found, as one self-contained page of HTML and as files of figures.

    inputs → study_report, run_report → parts.Part → html    one page: no script, no request
                                            → files   figures, and tables for papers

A part holds figures, and a figure holds a *chart*: a frozen record of numbers (`charts`). `drawing` draws it
with matplotlib, which nothing else needs; `descriptions` describes it and lists its numbers; `svg` puts the
drawing into a page, in colours that follow the reader's theme (`palette`). MarkupSafe escapes all text.
"""
