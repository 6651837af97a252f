"""Promotion on real servers: a churn model of scikit-learn, three servers as dev, test and prod, and the tool."""
