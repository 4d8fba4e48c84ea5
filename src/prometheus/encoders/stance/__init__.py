"""Stance of policy texts: hawkish, dovish or neutral, sentence by sentence, and *not sure* below a stated sureness.

The head is fitted on sentences that the user has labelled; the package carries no weights. It describes what a text
says and forecasts nothing (ADR-0030).
"""
