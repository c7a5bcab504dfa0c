"""The orchestrators whose flow runs are launched, and the one HTTP client they share."""
