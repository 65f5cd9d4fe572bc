"""Labelled tasks, parallel text, and batches of tensors made from them."""

from typing import TYPE_CHECKING

from distxfer._lazy import lazy
from distxfer.data._examples import SPLITS as SPLITS
from distxfer.data._examples import About as About
from distxfer.data._examples import Answer as Answer
from distxfer.data._examples import Data as Data
from distxfer.data._examples import Example as Example
from distxfer.data._examples import Issue as Issue
from distxfer.data._examples import Pair as Pair
from distxfer.data._examples import ParallelText as ParallelText
from distxfer.data._examples import Tags as Tags
from distxfer.data._examples import Task as Task
from distxfer.data._examples import count_distinct_texts as count_distinct_texts
from distxfer.data._files import lines as lines
from distxfer.data._freedict import unread_dictionaries as unread_dictionaries
from distxfer.data._sources import load_parallel as load_parallel
from distxfer.data._sources import load_task as load_task
from distxfer.data._sources import parallel_languages as parallel_languages
from distxfer.data._sources import parallel_names as parallel_names
from distxfer.data._sources import task_languages as task_languages
from distxfer.data._sources import task_names as task_names
from distxfer.data._words import Lexicon as Lexicon
from distxfer.data._words import Span as Span
from distxfer.data._words import WordPair as WordPair
from distxfer.data._words import aligned_pairs as aligned_pairs
from distxfer.data._words import dictionary_pairs as dictionary_pairs
from distxfer.data._words import read_aligned_folder as read_aligned_folder
from distxfer.data._words import read_alignments as read_alignments
from distxfer.data._words import read_dictionary as read_dictionary
from distxfer.data._words import read_dictionary_folder as read_dictionary_folder
from distxfer.data._words import word_spans as word_spans

if TYPE_CHECKING:
    from distxfer.data._batches import Collator as Collator
    from distxfer.data._batches import epoch_order as epoch_order
    from distxfer.data._checks import leaks as leaks
    from distxfer.data._in_memory import save_task as save_task
    from distxfer.data._in_memory import task_in_memory as task_in_memory
    from distxfer.data._issues import COUNTED as COUNTED
    from distxfer.data._issues import issue_lines as issue_lines
    from distxfer.data._issues import issues as issues
    from distxfer.data._rows import Joined as Joined
    from distxfer.data._rows import Lazy as Lazy
    from distxfer.data._rows import Parts as Parts
    from distxfer.data._rows import Picked as Picked
    from distxfer.data._rows import Sides as Sides
    from distxfer.data._tables import SUFFIXES as SUFFIXES
    from distxfer.data._task_type import Batch as Batch
    from distxfer.data._task_type import Output as Output
    from distxfer.data._task_type import Prediction as Prediction
    from distxfer.data._task_type import Reading as Reading
    from distxfer.data._task_type import TaskType as TaskType
    from distxfer.data._task_type import task_type_named as task_type_named
    from distxfer.data._task_type import task_type_names as task_type_names
    from distxfer.data._task_type import task_type_of as task_type_of

# These need torch or pyarrow.
__getattr__, __dir__ = lazy(
    __name__,
    {
        "_task_type": "Batch TaskType Output Prediction Reading task_type_named task_type_names task_type_of",
        "_batches": "Collator epoch_order",
        "_checks": "leaks",
        "_issues": "COUNTED issue_lines issues",
        "_rows": "Joined Lazy Parts Picked Sides",
        "_tables": "SUFFIXES",
        "_in_memory": "save_task task_in_memory",
    },
)
