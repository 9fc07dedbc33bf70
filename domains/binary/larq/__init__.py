"""Larq's operations for torch tensors."""
