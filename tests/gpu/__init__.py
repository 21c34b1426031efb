"""Tests of slimagent.gpu."""
