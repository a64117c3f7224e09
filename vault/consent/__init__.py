"""The person's side of a decision: does the legal ground of a purpose hold for this person, now?"""
