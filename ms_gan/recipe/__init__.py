"""What one writes down: the schema, how YAML is read, tables of named parts."""
