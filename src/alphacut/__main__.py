from alphacut.cli import program

program()
