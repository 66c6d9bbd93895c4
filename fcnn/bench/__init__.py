"""Measurements that prove, or disprove, that fcnn is fast."""
