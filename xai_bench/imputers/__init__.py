"""What replaces removed pixels: one small class a file; a new file here is found by itself."""
