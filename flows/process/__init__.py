"""One operating-system process: signals, threads, garbage collection, panics, liveness, output.

Nothing here knows the dataflow. Change freely.
"""
