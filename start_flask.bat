@echo off
rem Starts the service. On a new machine, it first creates .venv and installs requirements.txt.
setlocal
cd /d "%~dp0"
if "%~1"=="-h" goto help
if "%~1"=="--help" goto help

".venv\Scripts\python.exe" -c "import sys, pip; sys.exit(sys.version_info < (3, 11))" >nul 2>&1
if errorlevel 1 goto make
fc /b requirements.txt .venv\installed-requirements.txt >nul 2>&1
if errorlevel 1 goto install
goto serve

:make
set "PYTHON=py -3"
%PYTHON% -c "import sys; sys.exit(sys.version_info < (3, 11))" >nul 2>&1
if not errorlevel 1 goto found
set "PYTHON=python"
%PYTHON% -c "import sys; sys.exit(sys.version_info < (3, 11))" >nul 2>&1
if not errorlevel 1 goto found
echo start_flask.bat: Python 3.11 or later is required. Install it from https://www.python.org/downloads/ and start again 1>&2
exit /b 1

:found
%PYTHON% -m venv --clear .venv
if not errorlevel 1 goto install
echo start_flask.bat: Could not create .venv (see the error above). Fix it and start again 1>&2
exit /b 1

:install
echo Installing requirements.txt into .venv. The first time takes a minute ...
".venv\Scripts\python.exe" -m pip install --disable-pip-version-check --require-hashes --no-deps -r requirements.txt >.venv\pip.log 2>&1
if not errorlevel 1 goto installed
echo start_flask.bat: pip could not install requirements.txt (see .venv\pip.log). Check the network connection and start again 1>&2
exit /b 1

:installed
copy /y /b requirements.txt .venv\installed-requirements.txt >nul

:serve
".venv\Scripts\python.exe" -m serving %*
exit /b %errorlevel%

:help
echo Usage: start_flask.bat [--demo]
echo.
echo Runs the web server at http://%%HOST%%:%%PORT%% (default: 127.0.0.1:5000) and sends due emails, until Ctrl-C.
echo The first start creates .venv and installs requirements.txt into it. Settings are read from the environment
echo and from .env in this folder.
echo.
echo   --demo      use example data in the folder demo: three recipients and one email, due in a few seconds;
echo               prints the path of each delivered message. No mail leaves this machine.
echo   -h, --help  show this text
exit /b 0
