"What the tests of reading share"

import pandas as pd

TALK = '#Person1#: 세 시; 맞죠?\n#Person2#: 네, "세 시"예요.'


ROW = dict(fname="t_0", dialogue=TALK, summary="#Person2#는 세 시라고 한다.")


ROWS = [ROW, ROW | dict(fname="t_1", dialogue=TALK.replace("세", "네"))]


# names of columns

OTHERS = pd.DataFrame(ROWS).rename(columns=dict(fname="파일명", dialogue="대화 내용", summary="요약"))
