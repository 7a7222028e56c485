"""Homework: masters with their tests, the notebooks made from them, and the grader that runs answers in a sandbox.

A hidden test is an ordinary function whose parameters are names of answers. On a student's machine and on Gradescope it
gets the answers themselves. The grader on your own machine runs it outside the sandbox, and hands it remote functions:
arguments travel in, plain arrays and numbers come back, and no test ever shares a process with an answer.
"""
