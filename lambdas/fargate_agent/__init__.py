"""Serverless Fargate Agent: Prefect flow runs on ECS Fargate, with no process to keep alive."""
