"""Clusters of shoppers: the model in the dataflow, the names of clusters, the report.

A new feature of clusters is a column in `operators.shoppers.features`.
"""
