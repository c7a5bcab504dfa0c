"""The whole loop on one machine: real Prefect, the deployed stack, and a Fargate made of processes."""
