from alphacut.cli.main import program

program()
