"""Breaks the library on purpose, one small change at a time, and reports which changes no test notices."""
