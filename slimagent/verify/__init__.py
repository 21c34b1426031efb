"""Prove it: compare the checks before and after item by item, and find the dropped files that were needed."""
