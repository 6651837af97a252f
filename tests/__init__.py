"""The test suite: real MLflow servers, no mocks."""
