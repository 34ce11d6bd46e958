# The rules of mdl (Debian's ruby-mdl) for the pages, as `make check` applies them.
all
rule 'MD010', :ignore_code_blocks => true # Go has tabs
rule 'MD013', :line_length => 120, :tables => false # a row of a table cannot be wrapped
rule 'MD024', :allow_different_nesting => true
rule 'MD029', :style => :ordered
exclude_rule 'MD046' # Go code is fenced, for its colours; commands are indented
