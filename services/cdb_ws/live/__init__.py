"""The live feed without its sockets: what MEXC's frames say, what is subscribed, what was lost, and what to do next.

Everything in here is a function of the frames, answers and times that come in, so a recorded session gives the same
observations again.
"""
