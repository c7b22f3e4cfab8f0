"""From a program to machine code, by way of LLVM."""
