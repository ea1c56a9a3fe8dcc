@echo off
rem Starts the whole service; on a fresh machine it first makes .venv and installs requirements.txt.
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
echo start_flask.bat: Python 3.11 or later is needed; install it from https://www.python.org/downloads/ and start again 1>&2
exit /b 1

:found
%PYTHON% -m venv --clear .venv
if not errorlevel 1 goto install
echo start_flask.bat: Python could not make .venv, for the reason above; mend it and start again 1>&2
exit /b 1

:install
echo Installing what requirements.txt names into .venv; the first time takes a minute ...
".venv\Scripts\python.exe" -m pip install --disable-pip-version-check --require-hashes --no-deps -r requirements.txt >.venv\pip.log 2>&1
if not errorlevel 1 goto installed
echo start_flask.bat: pip could not install requirements.txt, see .venv\pip.log; is this machine online? Then start again 1>&2
exit /b 1

:installed
copy /y /b requirements.txt .venv\installed-requirements.txt >nul

:serve
".venv\Scripts\python.exe" -m serving %*
exit /b %errorlevel%

:help
echo Usage: start_flask.bat [--demo]
echo.
echo Serves on http://%%HOST%%:%%PORT%% (127.0.0.1:5000 unless set) and sends what is due, until Ctrl-C.
echo The first start makes .venv and installs requirements.txt into it. Settings come from the environment and
echo from .env in this folder.
echo.
echo   --demo      on data of its own in the folder demo: three example recipients and one email a few seconds
echo               ahead; prints where each message was put. No mail leaves this machine.
echo   -h, --help  this text
exit /b 0
