"""The development languages of all studies: settings may be chosen on their dev parts, and no test reports them.

A language that was looked at while a setting was chosen says too much of itself afterwards. Hence one list for all tasks.
The first three chose the settings of the study `emoji`.
"""

DEVELOPMENT = ("deu", "jpn", "tur", "hin", "hun")
