"""What every place must do, tried on each place and each kind."""
