"""What `./start_flask.sh` and `start_flask.bat` run: the web server and the sender, started and ended together."""
