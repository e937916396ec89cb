"""What a person or a schedule starts; each flow composes tasks and reads like its docstring."""
