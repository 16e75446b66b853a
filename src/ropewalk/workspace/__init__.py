"""The workspace's own rules, as functions of values: storing and answering are elsewhere.

`fields` and `forms` say what activities and notes may hold, `updates` how they are updated, `listing` how they are listed, `overlay` what
an attempt has done to them so far.
"""
