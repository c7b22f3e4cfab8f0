"""The program form: what a recorded run becomes, and what is differentiated and compiled."""
