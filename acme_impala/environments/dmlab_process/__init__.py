"""The program of a process that holds one DeepMind Lab: `python <this directory> <descriptor>`.

It is run as a directory and imports nothing else of this package: with TensorFlow each process
would take 200 MiB more and seconds to start. `lab_worker.py` starts it.
"""
