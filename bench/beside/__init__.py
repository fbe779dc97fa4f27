"""Tandem beside the servers people run today, the same load on each: `python -m bench.beside`.

A contender is one file here; a scene is one function in `bench.beside.scenes`.
"""
