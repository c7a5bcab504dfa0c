"""The whole loop on one machine: real Prefect, the deployed stack, Fargate made of processes."""
