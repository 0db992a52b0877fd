"""The HSMR network: what it is made of, how it is fed, trained, evaluated and asked for predictions."""
