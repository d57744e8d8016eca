"""What concerns one operating-system process: signals, threads, garbage collection, panics, liveness.

Nothing here knows the dataflow. Change freely.
"""
