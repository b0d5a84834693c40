"""Text generation without a framework: settings, prompts, stopping, beam search and the decoding loops.

A framework implements `DecoderProtocol` of `modeloutputs.generation.loops`; everything here works on NumPy arrays and
Python numbers, and treats the framework's own arrays as opaque.
"""
